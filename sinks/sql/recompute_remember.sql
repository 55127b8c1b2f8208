insert into billing.recomputation (algorithm, conversations, actor, why) values ($1, $2, $3, $4)
