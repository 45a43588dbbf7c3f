require "active_record"
require_relative "steps"

ActiveRecord::Base.establish_connection(adapter: "postgresql", host: PLACE.host, port: PLACE.port, username: PLACE.user, password: PLACE.password, database: PLACE.path[1..], pool: 2)

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

step("find_by e-mail") { Customer.find_by(email: EMAIL)&.attributes&.except("created_at") }
step("lower, as Devise asks") { Customer.where("lower(email) = ?", EMAIL).pluck(:id, :email) }
step("in") { Customer.where(email: [EMAIL, "customer.8@example.com"]).order(:id).pluck(:id, :email) }
step("or") { Customer.where(email: EMAIL).or(Customer.where(phone: "+1 555 0109")).order(:id).pluck(:id, :phone) }
step("joins and pluck") { Ticket.joins(:customer).where(status: "open").order(:id).limit(20).pluck(:id, :note, "customers.email") }
step("includes, two levels") { Customer.includes(tickets: :messages).find_by(email: EMAIL).tickets.sort_by(&:id).map { |t| [t.id, t.messages.map(&:body).sort] } }
step("eager_load") { Ticket.eager_load(:messages, :customer).where(id: [5, 6, 7]).order("tickets.id, ticket_messages.id").map { |t| [t.id, t.customer.email, t.messages.map(&:body)] } }
step("group and count") { Ticket.group(:status).order(:status).count }
step("limit, offset, exists?") { [Ticket.order(:id).limit(5).offset(20).ids, Ticket.exists?(7)] }
step("create!") { Ticket.create!(customer_id: 7, subject: "New").then { |t| [t.id, t.status] } }
step("create with children") { Ticket.create!(customer_id: 7, subject: "Two", messages: [Message.new(author: "agent", body: "a"), Message.new(author: "agent", body: "b")]).messages.size }
step("update!") { Ticket.find(7).update!(status: "closed"); Ticket.find(7).status }
step("update_all") { Ticket.where(id: 8).update_all(status: "closed") }
step("insert_all") { Message.insert_all((1..5).map { |n| { ticket_id: 7, author: "agent", body: "b#{n}" } }).length }
step("upsert_all of all columns") { Ticket.upsert_all([{ id: 7, customer_id: 8, subject: "Ticket 7", status: "open" }]).length }
step("find_or_create_by") { Ticket.find_or_create_by!(customer_id: 7, subject: "Found").status }
step("transaction, requires_new") do
  Ticket.transaction do
    Ticket.where(id: 7).update_all(status: "open")
    code = failing { Ticket.transaction(requires_new: true) { Ticket.connection.execute("SELECT 1 / 0") } }
    [code, Ticket.find(7).status]
  end
end
step("lock") { Ticket.transaction { Ticket.lock.select(:id).find(9).id } }
step("find_each") { Ticket.where("id <= 90").find_each(batch_size: 20).count }
step("destroy") { Message.where(ticket_id: 7, author: "agent").destroy_all.size }
step("explain") { Ticket.where(id: 7).explain.length > 0 }
step("unique violation") { failing { Ticket.create!(id: 1, customer_id: 2, subject: "x") } }
step("schema") { c = ActiveRecord::Base.connection; [c.columns("customers").map(&:name), c.foreign_keys("tickets").map(&:to_table), c.indexes("tickets").map(&:columns)] }
step("advisory lock of migrations") { c = ActiveRecord::Base.connection; [c.get_advisory_lock(42), c.release_advisory_lock(42)] }
