"""Repair: bars by REST where the feed was not heard; frames from quarantine. Must not know the live process."""
