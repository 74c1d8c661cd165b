-- Of what quality are the bars of the newest day, and where do they come from?
select source, quality, count(*) as bars, sum(volume) as volume
from bars(null::integer[], '1m', last_session())
group by source, quality
order by bars desc
