/** An agent with limits of every kind, one with hardly any budget, and the application that sees everything. */
export const POLICY = `version: 1
classes:
  name:  { mask: initials }
  email: { mask: email }
  phone: { mask: { last: 2 } }
  text:  { mask: redact }
tables:
  public.customers:
    subject: id
    columns: { name: name, email: email, phone: phone }
  public.tickets:
    subject: customer_id
    columns: { body: text }
roles:
  agent:
    users: [anna]
    reads: [public.customers, public.tickets]
    writes: [public.tickets]
    sees: [name]
    finds: [email, phone]
    rows: 100
    budget: { 1d: 500 }
  trainee:
    extends: agent
    users: [ben]
    budget: { 1d: 5 }
  app:
    users: [helpdesk_app]
    reads: all
    writes: all
    sees: all
    budget: none
`;
