"""Commands that read: bars, ticks, SQL, export, reconcile, spikes."""
