-- How do open puts compare with open calls, and where are most of each?
select
    sum(put_oi) / nullif(sum(call_oi), 0) as put_call_ratio,
    (array_agg(strike order by call_oi desc nulls last))[1] as most_calls_at,
    (array_agg(strike order by put_oi desc nulls last))[1] as most_puts_at
from option_chain('NIFTY')
