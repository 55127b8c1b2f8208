-- How far the change feed is read, whether newer changes are there, and how far the stream itself has come. By the newest
-- position, which an index gives: to look for any that is newer, PostgreSQL would read the whole feed to find none.
select f.position, w.watermark,
       coalesce((select max(c.position) from billing.session_record_changes c), 0) > f.position as has_unread
from invoicing.feed f, billing.stream_watermark w
