-- Which topic the name meant when it was first read: Kafka gives one that is made anew another id, and offsets of the
-- old one say nothing there. Null where it was first read before this was kept: the next start fills it in.
alter table billing.source_topic add column topic_id uuid;
grant update (topic_id) on billing.source_topic to quarterhour_worker;
