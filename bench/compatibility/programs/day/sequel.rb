require "sequel"
require_relative "day"

DB = Sequel.connect(adapter: "postgres", host: PLACE.host, port: PLACE.port, user: PLACE.user, password: PLACE.password, database: PLACE.path[1..], max_connections: 2)
DB.extension(:sql_comments)

def as(person)
  return DB.with_comments(user: person) { yield } if NAMING == "comment"

  DB.transaction do
    DB.get(Sequel.function(:set_config, "app.agent", person, true)) if NAMING == "setting"
    DB.run("SET LOCAL ROLE #{DB.literal(person.to_sym)}") if NAMING == "role"
    yield
  end
end

def customers(person)
  as(person) { yield(DB[:customers].select(:id, :name, :email, :phone).order(:id)).all }
end

TICKETS = DB[:tickets].select(:id, :customer_id, :subject, :status).order(:id)

def whole(tickets)
  messages = DB[:ticket_messages].where(ticket_id: tickets.map { |one| one[:id] }).order(:id).select_hash_groups(:ticket_id, %i[id body])
  tickets.map { |one| one.merge(messages: messages[one[:id]]) }
end

day(
  "queue" => lambda { |person, act|
    as(person) do
      page = DB[:tickets].join(:customers, id: :customer_id).where(assignee: person, status: "open").order(Sequel[:tickets][:id])
      page.limit(act["limit"], act["offset"]).select(Sequel[:tickets][:id], :customer_id, :subject, :name, :email).all
    end
  },
  "find" => ->(person, act) { customers(person) { |all| all.where(email: act["email"]) } },
  "findAnyCase" => ->(person, act) { customers(person) { |all| all.where(Sequel.function(:lower, :email) => act["email"].downcase) } },
  "findSeveral" => ->(person, act) { customers(person) { |all| all.where(email: act["emails"]) } },
  "findByPhone" => ->(person, act) { customers(person) { |all| all.where(phone: act["phone"]) } },
  "ticket" => ->(person, act) { as(person) { whole(TICKETS.where(id: act["id"]).all) } },
  "tickets" => ->(person, act) { as(person) { whole(TICKETS.where(id: act["ids"]).all) } },
  "note" => lambda { |person, act|
    as(person) do
      ticket = TICKETS.first(id: act["id"])
      DB[:ticket_messages].insert(ticket_id: act["id"], customer_id: ticket[:customer_id], author: "agent", body: act["body"])
      ticket
    end
  },
  "close" => ->(person, act) { as(person) { DB[:tickets].where(id: act["id"]).update(status: "closed") && TICKETS.first(id: act["id"]) } },
  "counts" => ->(person, _) { as(person) { DB[:tickets].where(assignee: person).group_and_count(:status).order(:status).all } },
  "fail" => lambda { |person, act|
    as(person) do
      shown = DB[:customers].select(:id, :name, :email).where(id: act["id"]).all
      { state: failing { DB.transaction(savepoint: true) { DB.get(Sequel.lit("1 / 0")) } }, shown: shown }
    end
  },
  "lock" => ->(person, act) { as(person) { DB.transaction { TICKETS.where(id: act["id"]).unordered.for_update.first } } }
)
