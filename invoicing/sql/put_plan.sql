insert into invoicing.plan (plan_id, version, terms, applied_by) values ($1, $2, $3, $4)
