/** The suggestion for every database; the class names are those of the rules. */
export const TEMPLATE = `# A policy to start from. It was made from names, types, comments and keys alone: no row was read, so no one
# has checked what the columns really hold. Read all of it. What has no class here, and what is "unsure", is NULL for
# all roles but those that see all, until a person gives it a class.
version: 1

classes:
  name: { mask: initials } # Alice Ng -> A. N.
  email: { mask: email } # alice@example.com -> a***@example.com
  phone: { mask: { last: 2 } } # +1 555 0100 -> *********00
  address: { mask: redact } # 12 Mill Lane -> [redacted]
  birth: { mask: year } # 1984-07-19 -> 1984-01-01
  card: { mask: { last: 4 } } # 4111111111111111 -> ************1111
  iban: { mask: { last: 4 } } # the same of account numbers
  national_id: { mask: "null" } # passport and tax numbers -> NULL
  secret: { mask: "null" } # passwords and tokens
  ip: { mask: "null" } # network addresses
  text: { mask: redact } # what people write
  hidden: { mask: "null" } # any of these in a column whose type does not take the mask
  plain: { mask: "null" } # nothing about a person, as far as names tell; hidden from whom "sees" does not name it

tables: {}

roles:
  agent:
    users: [] # agents, who read one person at a time for their work
    reads: []
    writes: [] # tables that agents change
    sees: [ plain, name ] # all else is masked …
    finds: [ email, phone ] # … but a person can be found by the exact value
    # No read without a condition on an indexed column:
    require_filter: []
    rows: 100 # of one statement
    bytes: 256kB
    budget: { 1m: 30, 1h: 120, 1d: 300, 30d: 3000 } # different people, all sessions together
  app:
    users: [] # applications and migrations
    reads: all
    writes: all
    sees: all
    budget: none
    # An application reads for the people at its screens. For them put these in place of "budget: none", and in a
    # role without the migrations' users: each person is then counted and named, if the application says who they are
    # (docs/applications.md):
    # watch: true
    # budget: { 1h: 120, 1d: 300 } # of each person
    # people_behind: [{ setting: app.agent }, { comment: user }]
    # unnamed: { budget: { 1h: 50 } }

# Users without a role are treated as agents, the most restricted role. Once everybody has a role, say "refuse".
unknown_users: agent
unclassified: mask # new columns, until they have a class
mode: observe # the audit log says what would happen, and nothing changes

# Next: name the users, save this in FILE, and run: sluice policy check --strict FILE --upstream URI; then
# sluice policy explain --policy FILE --as USER "SELECT …". Serve it with mode: observe; when the audit log looks right, enforce.
`;
