select position from invoicing.feed for update
