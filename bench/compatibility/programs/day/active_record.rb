# A newer Rails than Debian's: its folder, with activerecord, activemodel and activesupport in it.
ENV.fetch("RAILS_FOLDER", "").then do |rails|
  $LOAD_PATH.unshift(*%w[activerecord activemodel activesupport].map { |gem| "#{rails}/#{gem}/lib" }) unless rails.empty?
end
require "logger"
require "active_record"
require_relative "day"

ActiveRecord::Base.establish_connection(adapter: "postgresql", host: PLACE.host, port: PLACE.port, username: PLACE.user, password: PLACE.password, database: PLACE.path[1..], pool: 2)

# Who is being served, as Rails' CurrentAttributes keep it for each request.
class Current < ActiveSupport::CurrentAttributes
  attribute :agent
end

if NAMING == "comment" && ActiveRecord.version >= Gem::Version.new("7.0")
  # As config.active_record.query_log_tags has it.
  ActiveRecord::QueryLogs.tags = [{ application: "desk", user: -> { Current.agent } }]
  ActiveRecord.query_transformers << ActiveRecord::QueryLogs
elsif NAMING == "comment"
  require "marginalia"
  Marginalia::Comment.components = %i[application user]
  Marginalia.application_name = "desk"
  Marginalia::Comment.define_singleton_method(:user) { Current.agent }
  # What its initializer does in an application once ActiveRecord is loaded; `insert` needs ActionController as well.
  Marginalia::Railtie.insert_into_active_record
end

class Customer < ActiveRecord::Base
  has_many :tickets
end

class Ticket < ActiveRecord::Base
  belongs_to :customer
  has_many :messages
end

class Message < ActiveRecord::Base
  self.table_name = "ticket_messages"
  belongs_to :ticket
end

# What Rails' executor does around a request: a connection of the pool, and who is served.
def as(person)
  ActiveRecord::Base.connection_pool.with_connection do |connection|
    Current.agent = person
    next yield if %w[comment none].include?(NAMING)

    ActiveRecord::Base.transaction do
      connection.execute("SET LOCAL app.agent = #{connection.quote(person)}") if NAMING == "setting"
      connection.execute("SET LOCAL ROLE #{connection.quote_column_name(person)}") if NAMING == "role"
      yield
    end
  end
ensure
  Current.reset
end

def plain(one)
  keys = one.is_a?(Customer) ? %w[id name email phone] : %w[id customer_id subject status]
  one.attributes.slice(*keys)
end

def whole(ticket)
  plain(ticket).merge("messages" => ticket.messages.map { |one| [one.id, one.body] }.sort)
end

def customers(person)
  as(person) { yield(Customer.all).order(:id).map { |one| plain(one) } }
end

# The schema is read before the first request, as eager loading does.
ActiveRecord::Base.connection_pool.with_connection { [Customer, Ticket, Message].each(&:columns) }

day(
  "queue" => lambda { |person, act|
    as(person) do
      page = Ticket.includes(:customer).where(assignee: person, status: "open").order(:id).limit(act["limit"]).offset(act["offset"])
      page.map { |one| plain(one).merge("customer" => plain(one.customer)) }
    end
  },
  "find" => ->(person, act) { customers(person) { |all| all.where(email: act["email"]) } },
  "findAnyCase" => ->(person, act) { customers(person) { |all| all.where("lower(email) = ?", act["email"].downcase) } },
  "findSeveral" => ->(person, act) { customers(person) { |all| all.where(email: act["emails"]) } },
  "findByPhone" => ->(person, act) { customers(person) { |all| all.where(phone: act["phone"]) } },
  "ticket" => ->(person, act) { as(person) { Ticket.find(act["id"]).then { |one| whole(one).merge("customer" => plain(one.customer)) } } },
  "tickets" => ->(person, act) { as(person) { Ticket.eager_load(:messages).where(id: act["ids"]).order(:id).map { |one| whole(one) } } },
  "note" => lambda { |person, act|
    as(person) do
      ticket = Ticket.find(act["id"])
      ticket.messages.create!(customer_id: ticket.customer_id, author: "agent", body: act["body"])
      plain(ticket)
    end
  },
  "close" => ->(person, act) { as(person) { Ticket.find(act["id"]).tap { |one| one.update!(status: "closed") }.then { |one| plain(one.reload) } } },
  "counts" => ->(person, _) { as(person) { Ticket.where(assignee: person).group(:status).order(:status).count } },
  "fail" => lambda { |person, act|
    as(person) do
      shown = plain(Customer.find(act["id"]))
      state = failing { Ticket.transaction(requires_new: true) { Ticket.connection.execute("SELECT 1 / 0") } }
      { state: state, shown: shown }
    end
  },
  "lock" => ->(person, act) { as(person) { Ticket.transaction { plain(Ticket.lock.select(:id, :customer_id).find(act["id"])) } } }
)
