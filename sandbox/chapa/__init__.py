"""An imitation of Chapa's v1 API that can be told to misbehave.

In one process: `create_app(Simulator(...))` is a Flask app, and webhooks wait in
`simulator.outbox` until `deliver_due()`. Over HTTP: `python -m sandbox.chapa`, or `Server`.
"""
