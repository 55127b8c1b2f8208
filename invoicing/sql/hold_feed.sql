-- Nobody reads the feed on until this transaction ends.
select position from invoicing.feed for share
