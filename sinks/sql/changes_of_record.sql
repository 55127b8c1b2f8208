-- Every change of a record that consumers were told of, in their order.
select * from billing.session_record_changes where session_id = $1 order by position
