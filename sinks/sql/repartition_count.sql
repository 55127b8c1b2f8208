-- How many conversations and records of a kind ($1) go to another shard.
select (select count(*) from pg_temp.moved_subject where kind = $1 and kind = 'usage') as conversations,
       (select count(*)
        from billing.session_record r join pg_temp.moved_subject m using (kind, account_id, bot_id, subject_id)
        where m.kind = $1) as records
