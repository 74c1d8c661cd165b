-- Make bars visible that an older revision has kept; outside a transaction. No parameters.
call tickline.show_kept_bars()
