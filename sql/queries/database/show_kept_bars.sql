-- Make bars visible that an older revision has stored; outside a transaction. No parameters.
call tickline.show_kept_bars()
