-- Whether another invoice of an account will come of itself: a draft is there, or a subscription goes on that can charge.
select exists (select from invoicing.invoice where account_id = $1 and status = 'draft')
    or exists (
      select from invoicing.subscription s
      join invoicing.slice sl on sl.subscription_id = s.subscription_id and upper(sl.during) is null
      join invoicing.plan p on (p.plan_id, p.version) = (sl.plan_id, sl.plan_version)
      where s.account_id = $1 and s.state not in ('cancelled', 'expired') and p.terms ->> 'kind' <> 'contract'
        and (p.terms ? 'price' or p.terms ? 'beyond')
    )
