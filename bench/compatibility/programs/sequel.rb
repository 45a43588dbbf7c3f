require "sequel"
require_relative "steps"

DB = Sequel.connect(adapter: "postgres", host: PLACE.host, port: PLACE.port, user: PLACE.user, password: PLACE.password, database: PLACE.path[1..])

class Customer < Sequel::Model
  one_to_many :tickets, order: :id
end

class Ticket < Sequel::Model
  many_to_one :customer
  one_to_many :messages, class: :Message, key: :ticket_id, order: :id
end

class Message < Sequel::Model(:ticket_messages)
  many_to_one :ticket
end

step("first by e-mail") { Customer.first(email: EMAIL)&.values&.except(:created_at) }
step("ilike") { Customer.where(Sequel.ilike(:email, EMAIL)).select_map(%i[id email]) }
step("in, or") { Customer.where(email: [EMAIL, "customer.8@example.com"]).or(phone: "+1 555 0109").order(:id).select_map(%i[id phone]) }
step("eager") { Customer.where(email: EMAIL).eager(tickets: :messages).all.map { |c| c.tickets.map { |t| [t.id, t.note, t.messages.map(&:body)] } } }
step("eager_graph") { Ticket.eager_graph(:customer).where(Sequel[:tickets][:id] => [5, 6, 7]).order(Sequel[:tickets][:id]).all.map { |t| [t.id, t.customer.email] } }
step("group_and_count") { Ticket.group_and_count(:status).order(:status).map(&:values) }
step("insert") { DB[:tickets].returning(:id, :status).insert(customer_id: 7, subject: "New") }
step("update of a model") { Ticket[7].update(status: "closed").status }
step("save of all columns") { t = Ticket[8]; t.status = "closed"; t.save_changes; t.save(columns: %i[customer_id subject status]); Ticket[8].status }
step("upsert") { DB[:tickets].returning(:id).insert_conflict(target: :id, update: { status: Sequel[:excluded][:status] }).insert(id: 7, customer_id: 8, subject: "Ticket 7", status: "open") }
step("multi_insert") { DB[:ticket_messages].multi_insert((1..5).map { |n| { ticket_id: 7, author: "agent", body: "b#{n}" } }); Message.where(ticket_id: 7).count }
step("transaction, savepoint") do
  DB.transaction do
    code = failing { DB.transaction(savepoint: true) { DB.run("SELECT 1 / 0") } }
    [code, DB[:tickets].where(id: 7).for_update.get(:status)]
  end
end
step("paged_each") { count = 0; DB[:tickets].select(:id).order(:id).limit(90).paged_each(rows_per_fetch: 20) { count += 1 }; count }
step("use_cursor") { count = 0; DB[:tickets].select(:id).order(:id).limit(90).use_cursor(rows_per_fetch: 20).each { count += 1 }; count }
step("prepared") { DB[:customers].where(id: :$id).select(:id, :phone).prepare(:select, :by_id).call(id: 7) }
step("schema") { [DB.schema(:customers).map(&:first), DB.foreign_key_list(:tickets).map { |k| k[:columns] }] }
