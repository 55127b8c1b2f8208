-- How far the change feed is read, whether newer changes are there, and how far the stream itself has come.
select f.position, w.watermark,
       exists (select from billing.session_record_changes c where c.position > f.position) as has_unread
from invoicing.feed f, billing.stream_watermark w
