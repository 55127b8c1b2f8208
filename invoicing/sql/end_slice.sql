-- The terms that held until now: one that began this very moment never held.
with never as (
  delete from invoicing.slice where subscription_id = $1 and upper(during) is null and lower(during) >= $2
)
update invoicing.slice set during = tstzrange(lower(during), $2)
where subscription_id = $1 and upper(during) is null and lower(during) < $2
