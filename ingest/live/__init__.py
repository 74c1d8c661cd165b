"""The running ingester: tasks, start and stop, watchdog, status, HTTP, handlers of users.

Must not know the command line.
"""
