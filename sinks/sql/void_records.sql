-- Records that the facts no longer yield. One that ever was final leaves with the time of its correction.
with voided as (
update billing.session_record r
set status = 'void', revision = v.revision, corrected_at = case when billing.was_final(r) then now() end,
    session_settles_at_ms = null
from unnest($1::uuid[], $2::bigint[]) as v(session_id, revision)
where r.session_id = v.session_id and r.status <> 'void'
returning r.session_id, r.kind, r.status, r.corrected_at is not distinct from now() as corrected
)
insert into pg_temp.changed_record (session_id, kind, status, corrected)
select session_id, kind, status, corrected from voided
