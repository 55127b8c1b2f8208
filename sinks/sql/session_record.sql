-- One record of the contract view, and when its session settles.
select v.*, r.settles_at_ms
from billing.session_records v join billing.session_record r using (session_id)
where v.session_id = $1
