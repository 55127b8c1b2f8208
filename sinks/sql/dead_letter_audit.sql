-- Who did what, when and why: acts alike together, in the order of their first. What was accepted stands alone.
select a.act, a.actor, a.why, a.change, count(*) as acts,
       case a.act when 'accept' then a.topic || '/' || a.partition || '/' || a."offset" end as until,
       min(a.acted_at) as first_at, max(a.acted_at) as last_at
from billing.dead_letter_act a
group by 1, 2, 3, 4, 6
order by min(a.act_number)
