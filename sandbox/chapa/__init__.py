"""A simulator of Chapa's APIs, v1 and v2, with injected faults.

In one process: `create_app(Simulator(...))` is a WSGI app, and webhooks wait in
`simulator.outbox` until `deliver_due()`. Over HTTP: `python -m sandbox.chapa`, or `Server`.
"""
