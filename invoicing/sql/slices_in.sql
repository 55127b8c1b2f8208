-- Terms of a subscription within a time, cut to it.
select greatest(lower(s.during), $2) as from_at, least(upper(s.during), $3) as to_at, p.terms as plan, s.is_trial
from invoicing.slice s join invoicing.plan p on (p.plan_id, p.version) = (s.plan_id, s.plan_version)
where s.subscription_id = $1 and s.during && tstzrange($2, $3)
order by 1
