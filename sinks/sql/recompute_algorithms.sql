-- The oldest and the newest version of the rule's code that any record is by; 0: there is no record.
select coalesce(min(algorithm), 0), coalesce(max(algorithm), 0) from billing.session_record
