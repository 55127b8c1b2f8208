select b.bot_id, greatest(lower(s.during), lower(sp.during)) as from_at, least(upper(s.during), upper(sp.during)) as to_at,
       lower(sp.whole) as whole_from, upper(sp.whole) as whole_to, p.terms as plan, s.is_trial
from invoicing.subscription_period sp
join invoicing.slice s on s.subscription_id = sp.subscription_id and s.during && sp.during
join invoicing.published_bot b using (bot_key)
join invoicing.plan p on (p.plan_id, p.version) = (s.plan_id, s.plan_version)
where sp.invoice_id = $1
order by b.bot_id, 2
