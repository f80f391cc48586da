"""What more or less memory would do, by arithmetic: Lambda gives processor time in proportion.

From the processor times that `bench.cold` and `bench.warm` have printed. A real processor of
Lambda is another one: read the relations. `python -m bench.memory` prints the table.
"""

from bench.order import CHAPA_SECONDS, GB_SECOND, VCPU_MB
from bench.tables import markdown, printed, rows_of

SIZES_MB = (128, 256, 512, 768, 1024)


def main() -> None:
    cold = {row[0]: float(row[2]) for row in rows_of(printed("cold"))}
    warm = {row[0]: float(row[2]) for row in rows_of(printed("warm"))}
    cpu_ms = {
        "cold webhook": cold["webhook"],
        "cold initialize": cold["initialize"],
        "warm webhook": warm["applied webhook"],
        "warm initialize": warm["initialize"],
    }
    rows = []
    for size in SIZES_MB:
        share = size / VCPU_MB
        took = {name: ms / share for name, ms in cpu_ms.items()}
        seconds = took["warm initialize"] / 1000 + CHAPA_SECONDS
        price = seconds * size / 1024 * GB_SECOND
        times = [f"{ms:,.0f}" for ms in took.values()]
        rows.append([f"{size:,} MB", f"{share:.2f}", *times, f"{price:.1f}"])
    head = ["Memory", "processors", *(f"{name}, ms" for name in cpu_ms)]
    price_head = f"warm initialize with {CHAPA_SECONDS} s of waiting, millionths of a dollar"
    print(markdown([*head, price_head], rows))


if __name__ == "__main__":
    main()
