-- The aggregator's own store: what was sold to whom, what was used, what was invoiced and paid.
-- Times are timestamptz in whole seconds where people set them; money is in minor units of the account's currency.

create schema if not exists invoicing;

-- Who sells. Numbers of invoices are given by seller and year.
create table invoicing.seller (
  seller_id     text primary key collate "C",
  name          text not null,
  address       text[] not null,
  country       text not null check (country ~ '^[A-Z]{2}$'),
  tax_id        text not null,
  time_zone     text not null,
  number_prefix text not null,
  payment_days  integer not null check (payment_days between 0 and 365)
);

-- Plans by version; a version is never changed once it is here.
create table invoicing.plan (
  plan_id    text        not null collate "C",
  version    integer     not null check (version > 0),
  terms      jsonb       not null,
  applied_at timestamptz not null default now(),
  applied_by text        not null,
  primary key (plan_id, version)
);

create table invoicing.account (
  account_id  text primary key collate "C",
  seller_id   text not null references invoicing.seller,
  name        text not null check (name <> ''),
  address     text[] not null,
  country     text not null check (country ~ '^[A-Z]{2}$'),
  tax_id      text not null default '',
  tax_percent numeric(6, 3) not null check (tax_percent between 0 and 100),
  currency    text not null check (currency ~ '^[A-Z]{3}$'),
  plan_kind   text not null check (plan_kind in ('standard', 'enterprise')) -- enterprise: metered, never invoiced
);

-- Which time zone an account is in, from when on.
create table invoicing.account_zone (
  account_id   text        not null references invoicing.account,
  effective_at timestamptz not null,
  time_zone    text        not null,
  primary key (account_id, effective_at)
);

create table invoicing.published_bot (
  bot_key    bigint generated always as identity primary key,
  account_id text not null references invoicing.account,
  bot_id     text not null collate "C",
  name       text not null,
  unique (account_id, bot_id)
);

-- A bot's subscription. Its current period runs from period_starts_at to period_ends_at, boundaries period_number and the
-- next one of its anchor (invoicing/periods.py); a trial is its period 0.
create table invoicing.subscription (
  subscription_id      bigint generated always as identity primary key,
  bot_key              bigint      not null references invoicing.published_bot,
  account_id           text        not null references invoicing.account,
  state                text        not null check (state in
    ('trial', 'active', 'change_pending', 'cancelling', 'cancelled', 'expired', 'past_due')),
  during               tstzrange   not null check (not isempty(during)), -- its upper end is open until it is over
  unit                 text        not null check (unit in ('month', 'year')),
  anchor_at            timestamptz not null,
  anchor_wall          timestamp   not null, -- the anchor on the clock of the account's zone at that time
  period_number        integer     not null check (period_number >= 0),
  period_starts_at     timestamptz not null,
  period_ends_at       timestamptz not null check (period_ends_at > period_starts_at),
  pending_plan_id      text,
  pending_plan_version integer,
  foreign key (pending_plan_id, pending_plan_version) references invoicing.plan,
  check ((state = 'change_pending') = (pending_plan_id is not null)),
  check ((state in ('cancelled', 'expired')) = (upper(during) is not null)),
  -- A range of one number stands for the bot: PostgreSQL excludes by it without an extension.
  constraint one_subscription_at_a_time exclude using gist (int8range(bot_key, bot_key, '[]') with &&, during with &&)
);
create index subscription_to_renew on invoicing.subscription (period_ends_at) where state not in ('cancelled', 'expired');
create index subscription_by_account on invoicing.subscription (account_id);

-- Under which terms a bot is, when: what is rated.
create table invoicing.slice (
  subscription_id bigint    not null references invoicing.subscription,
  bot_key         bigint    not null references invoicing.published_bot,
  during          tstzrange not null check (not isempty(during)),
  plan_id         text      not null,
  plan_version    integer   not null,
  is_trial        boolean   not null,
  foreign key (plan_id, plan_version) references invoicing.plan,
  constraint one_plan_at_a_time exclude using gist (int8range(bot_key, bot_key, '[]') with &&, during with &&)
);
create index slice_by_subscription on invoicing.slice (subscription_id);

-- Who did what and when: rows are added, never changed.
create table invoicing.action (
  action_id   bigint generated always as identity primary key,
  acted_at    timestamptz not null default clock_timestamp(),
  as_of       timestamptz not null, -- the moment it takes effect
  actor       text        not null check (actor <> ''),
  event       text        not null,
  account_id  text collate "C",
  bot_key     bigint,
  subject     text        not null default '', -- a subscription, an invoice number, a plan
  details     jsonb       not null default '{}'
);
create index action_by_account on invoicing.action (account_id, action_id);

-- How far the change feed was read. Who reads on holds this row for update, who invoices holds it for share: so nothing
-- that is read is missed by an invoice and by its adjustment both.
create table invoicing.feed (
  only_row boolean primary key default true check (only_row),
  position bigint  not null
);
insert into invoicing.feed (position) values (0);

-- The records that are billed or were, as the change feed has them.
create table invoicing.billed_record (
  session_id    uuid        primary key,
  position      bigint      not null,
  account_id    text        not null collate "C",
  bot_id        text        not null collate "C",
  kind          text        not null,
  started_at    timestamptz not null,
  ended_at      timestamptz not null,
  bot_ms        bigint,
  agent_ms      bigint,
  user_id       text        not null,
  channel       text        not null,
  subject_id    text        not null,
  revision      bigint      not null,
  is_void       boolean     not null
);
create index billed_record_by_start on invoicing.billed_record (account_id, bot_id, kind, started_at, session_id)
  where not is_void;

-- Their number by the quarter hour, which divides a day of every time zone.
create table invoicing.usage_quarter (
  account_id text        not null collate "C",
  bot_id     text        not null collate "C",
  kind       text        not null,
  quarter_at timestamptz not null,
  sessions   bigint      not null,
  primary key (account_id, bot_id, kind, quarter_at)
) with (fillfactor = 80);

-- A record as it was invoiced.
create type invoicing.invoiced_record as (
  session_id uuid, position bigint, revision bigint, started_at timestamptz, ended_at timestamptz,
  bot_ms bigint, agent_ms bigint, user_id text, channel text, subject_id text
);

create table invoicing.invoice (
  invoice_id     uuid        primary key, -- follows from account, kind, period and ordinal: invoicing/ids.py
  account_id     text        not null references invoicing.account,
  kind           text        not null check (kind in ('period', 'adjustment', 'credit_note')),
  during         tstzrange   not null check (not isempty(during)),
  ordinal        integer     not null check (ordinal >= 0),
  corrects       uuid references invoicing.invoice, -- the invoice that a credit note takes back, or an adjustment corrects
  status         text        not null check (status in ('draft', 'final', 'paid', 'void')),
  held_code      text,       -- why a draft is not final yet
  held_detail    text,
  currency       text        not null,
  total_minor    bigint      not null default 0,
  paid_minor     bigint      not null default 0,
  feed_position  bigint      not null default 0, -- of the change feed, when its lines were computed
  seller_id      text references invoicing.seller,
  number_year    integer,
  number_in_year integer,
  number         text unique,
  issued_at      timestamptz,
  due_at         timestamptz,
  document       jsonb,      -- seller, buyer and all that its PDF shows
  pdf            bytea,
  pdf_sha256     text,
  unique (seller_id, number_year, number_in_year),
  check ((status = 'draft') = (number is null)),
  check (status = 'draft' or (held_code is null and num_nulls(number_in_year, issued_at, due_at, document, pdf, pdf_sha256) = 0)),
  check (status <> 'void' or kind <> 'credit_note')
);
alter table invoicing.invoice alter column pdf set storage external;
create unique index one_live_invoice on invoicing.invoice (account_id, kind, during, ordinal) where status <> 'void';
create index invoice_drafts on invoicing.invoice (account_id) where status = 'draft';
create index invoice_unpaid on invoicing.invoice (due_at) where status = 'final' and kind <> 'credit_note';

create table invoicing.invoice_line (
  invoice_id   uuid    not null references invoicing.invoice,
  line_number  integer not null,
  kind         text    not null check (kind in ('price', 'usage', 'alert', 'adjustment', 'credit', 'tax')),
  basis        text    not null, -- invoicing/rating.py: price, trial, included, tier, beyond
  bot_id       text collate "C",
  plan_id      text,
  plan_version integer,
  during       tstzrange,
  quantity     bigint  not null check (quantity >= 0),
  unit_price   numeric, -- in major units
  tax_percent  numeric(6, 3) not null,
  amount_minor bigint  not null,
  detail       text    not null default '',
  adjusts      uuid references invoicing.invoice,
  records      invoicing.invoiced_record[] not null default '{}', -- of an adjustment: those that came to it
  removed      invoicing.invoiced_record[] not null default '{}', -- of an adjustment: those that left it
  primary key (invoice_id, line_number)
);

-- The billing periods of subscriptions that are over, or will be when their invoice is.
create table invoicing.subscription_period (
  subscription_id bigint    not null references invoicing.subscription,
  period_number   integer   not null,
  during          tstzrange not null, -- as it was
  whole           tstzrange not null, -- as it would have been without a change: what prices and allowances are shares of
  invoice_id      uuid      not null references invoicing.invoice,
  primary key (subscription_id, period_number),
  constraint one_period_at_a_time exclude using gist
    (int8range(subscription_id, subscription_id, '[]') with &&, during with &&)
);
create index subscription_period_by_invoice on invoicing.subscription_period (invoice_id);

-- Final invoices of whose period a record changed since: to be compared with what is owed now.
create table invoicing.invoice_to_review (
  invoice_id uuid primary key references invoicing.invoice
);

create table invoicing.number_series (
  seller_id text    not null references invoicing.seller,
  year      integer not null,
  last      integer not null,
  primary key (seller_id, year)
);

create table invoicing.manual_credit (
  credit_id    bigint generated always as identity primary key,
  account_id   text        not null references invoicing.account,
  amount_minor bigint      not null check (amount_minor > 0),
  reason       text        not null check (reason <> ''),
  reference    text        not null check (reference <> ''),
  actor        text        not null check (actor <> ''),
  given_at     timestamptz not null default clock_timestamp(),
  invoice_id   uuid references invoicing.invoice, -- the one that carries it
  unique (account_id, reference)
);

create table invoicing.payment (
  invoice_id   uuid        not null references invoicing.invoice,
  reference    text        not null check (reference <> ''),
  amount_minor bigint      not null check (amount_minor <> 0), -- a refund is negative
  actor        text        not null check (actor <> ''),
  paid_at      timestamptz not null,
  primary key (invoice_id, reference)
);

-- What was issued stays as it was issued.
create function invoicing.refuse_change_of_issued() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' then
    if old.status <> 'draft' then
      raise exception 'invoice % is issued: it cannot be deleted', old.number using errcode = 'restrict_violation';
    end if;
    return old;
  end if;
  if old.status <> 'draft' and (
       to_jsonb(new) - array['status', 'paid_minor'] is distinct from to_jsonb(old) - array['status', 'paid_minor']
       or new.status = 'draft' or (old.status = 'void' and new.status <> 'void')) then
    raise exception 'invoice % is issued: only its payment and its being void may change', old.number
      using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger issued_stays before update or delete on invoicing.invoice
  for each row execute function invoicing.refuse_change_of_issued();

create function invoicing.refuse_change_of_lines() returns trigger language plpgsql as $$
begin
  if exists (select from invoicing.invoice i
             where i.invoice_id = coalesce(new.invoice_id, old.invoice_id) and i.status <> 'draft') then
    raise exception 'lines of an issued invoice cannot change' using errcode = 'restrict_violation';
  end if;
  return coalesce(new, old);
end $$;
create trigger issued_lines_stay before insert or update or delete on invoicing.invoice_line
  for each row execute function invoicing.refuse_change_of_lines();

-- The aggregator: its own store, and of the stream's only the views that migration 0002 of the ledger gave it.
grant usage on schema invoicing to quarterhour_aggregator;
grant select, insert, update on all tables in schema invoicing to quarterhour_aggregator;
grant delete on invoicing.slice, invoicing.invoice_line, invoicing.invoice_to_review to quarterhour_aggregator;
revoke update on invoicing.plan, invoicing.action, invoicing.payment, invoicing.account_zone from quarterhour_aggregator;
