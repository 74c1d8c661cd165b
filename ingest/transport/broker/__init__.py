"""Broker: journal blocks through NATS JetStream, needed on no single machine (`tickline[nats]`).

    collector   journal ─► Publisher ─► subject tick.<collector>.<stream>, one stream of the broker for each collector
    writer      BrokerCollector ─► RemoteSource          holes are filled by the collector's own server

The journal stays the truth and the ledger the only judge: the broker may lose, double or reorder whatever it likes.
"""
