/**
 * `agent` is as in policies/support.yaml, except that its condition names no user: the readers of all worlds then share
 * their verdicts. `lead` sees more, `unlimited` has no limit of rows, `short` has results truncated and a budget of
 * bytes, `tight` has a budget that is soon used up. `open` sees everything and is not counted: the harness must detect
 * everything that it does.
 */
export const POLICY = `
version: 1
classes:
  name:    { mask: initials }
  email:   { mask: email }
  phone:   { mask: { last: 2 } }
  address: { mask: redact }
  text:    { mask: redact }
  card:    { mask: { last: 4 } }
  amount:  { mask: "null" }
tables:
  public.customers:
    subject: id
    columns: { name: name, email: email, phone: phone, address: address }
  public.tickets:
    subject: customer_id
    columns: { subject: text, body: text }
  public.ticket_messages:
    subject: customer_id
    columns: { body: text }
  public.payments:
    subject: customer_id
    columns: { card_number: card }
  public.contact_log:
    subject: customer_id
    columns: { email: email }
  public.credit:
    subject: customer_id
    columns: { lim: amount }
roles:
  agent:
    users: ["agent_*"]
    reads: all
    writes: [public.tickets, public.ticket_messages, public.customers, public.notes, public.credit]
    sees: [name, { text: { when: "assignee = 'anna'" } }]
    finds: [email, phone]
    rows: 100
    bytes: 256kB
    budget: { 1d: 1000000 }
  lead:
    users: ["lead_*"]
    reads: all
    writes: [public.tickets, public.notes]
    sees: [name, email, phone, text]
    rows: 100
    budget: { 1d: 1000000 }
  unlimited:
    users: ["unlimited_*"]
    reads: all
    sees: [name]
    budget: { 1d: 1000000 }
  short:
    users: ["short_*"]
    reads: all
    sees: [name]
    bytes: 256kB
    on_excess: truncate
    budget: { 1d: { people: 1000000, bytes: 300kB } }
  tight:
    users: ["tight_*"]
    reads: all
    sees: [name]
    rows: 100
    budget: { 1d: 3 }
  open:
    users: ["open_*"]
    reads: all
    writes: all
    sees: all
    budget: none
`;

export const ROLES = ["agent", "lead", "unlimited", "short", "tight", "open"] as const;
export type RoleName = (typeof ROLES)[number];
