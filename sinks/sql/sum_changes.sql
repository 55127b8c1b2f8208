select kind, status, corrected, count(*)::integer as records
from pg_temp.changed_record group by kind, status, corrected
