"""Repair: bars by REST for times without feed data; frames from quarantine. Must not know the live process."""
