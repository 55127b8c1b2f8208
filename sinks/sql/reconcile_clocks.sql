-- Clocks that no event and no clock of a machine can have set.
select 'source_partition' as table_name, format('%s partition %s', topic, partition) as key,
       format('clock_ms is %s, which is days ahead', clock_ms) as what
from billing.source_partition where clock_ms > extract(epoch from now() + interval '1 day') * 1000
