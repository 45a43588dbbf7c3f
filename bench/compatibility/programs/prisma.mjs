import { PrismaPg } from "@prisma/adapter-pg";
import client from "./generated/index.js";
import { EMAIL, sqlstate, step, URI } from "./steps.mjs";

const db = new client.PrismaClient({ adapter: new PrismaPg({ connectionString: URI, max: 2 }) });

await step("findUnique by e-mail", () => db.customer.findUnique({ where: { email: EMAIL } }));
await step("insensitive", () =>
  db.customer.findMany({ where: { email: { equals: EMAIL, mode: "insensitive" } } }),
);
await step("in", () =>
  db.customer.findMany({
    where: { email: { in: [EMAIL, "customer.8@example.com"] } },
    orderBy: { id: "asc" },
  }),
);
await step("OR", () =>
  db.customer.findMany({
    where: { OR: [{ email: EMAIL }, { phone: "+1 555 0109" }] },
    orderBy: { id: "asc" },
  }),
);
await step("page with include", () =>
  db.ticket.findMany({
    where: { status: "open" },
    include: { customer: true },
    orderBy: { id: "asc" },
    take: 20,
  }),
);
await step("cursor", () => db.ticket.findMany({ cursor: { id: 20n }, take: 5, orderBy: { id: "asc" } }));
for (const relationLoadStrategy of ["join", "query"]) {
  await step(`include of two levels, ${relationLoadStrategy}`, () =>
    db.customer.findUnique({
      relationLoadStrategy,
      where: { email: EMAIL },
      include: { tickets: { orderBy: { id: "asc" }, include: { messages: { orderBy: { id: "asc" } } } } },
    }),
  );
  await step(`page with messages, ${relationLoadStrategy}`, () =>
    db.ticket.findMany({
      relationLoadStrategy,
      orderBy: { id: "asc" },
      take: 10,
      select: { id: true, messages: { select: { body: true }, orderBy: { id: "asc" } } },
    }),
  );
}
await step("count, groupBy", async () => [
  await db.ticket.count({ where: { status: "open" } }),
  await db.ticket.groupBy({ by: ["status"], _count: true, orderBy: { status: "asc" } }),
]);
await step("relation filter", () =>
  db.ticket.findMany({ where: { customer: { email: EMAIL } }, select: { id: true }, orderBy: { id: "asc" } }),
);
await step("create", () =>
  db.ticket.create({ data: { customerId: 7n, subject: "New" }, select: { id: true, status: true } }),
);
await step("nested create", () =>
  db.ticket.create({
    data: {
      customerId: 7n,
      subject: "Two",
      messages: {
        create: [
          { author: "agent", body: "a" },
          { author: "agent", body: "b" },
        ],
      },
    },
    select: { _count: { select: { messages: true } } },
  }),
);
await step("createMany", () =>
  db.message.createMany({ data: [1, 2, 3].map((n) => ({ ticketId: 7n, author: "agent", body: `b${n}` })) }),
);
await step("update", () =>
  db.ticket.update({ where: { id: 7n }, data: { status: "closed" }, select: { id: true, status: true } }),
);
await step("update of all columns", () =>
  db.ticket.update({
    where: { id: 7n },
    data: { customerId: 8n, subject: "Ticket 7", status: "open" },
    select: { id: true, status: true },
  }),
);
await step("updateMany", () =>
  db.ticket.updateMany({ where: { id: { in: [8n, 9n] } }, data: { status: "pending" } }),
);
await step("upsert", () =>
  db.ticket.upsert({
    where: { id: 7n },
    create: { id: 7n, customerId: 8n, subject: "Ticket 7" },
    update: { status: "closed" },
    select: { id: true, status: true },
  }),
);
await step("interactive transaction", () =>
  db.$transaction(async (tx) => {
    await tx.ticket.update({ where: { id: 7n }, data: { status: "pending" }, select: { id: true } });
    return tx.ticket.findUnique({ where: { id: 7n } });
  }),
);
await step("batch transaction", () => db.$transaction([db.ticket.count(), db.customer.count()]));
await step("deleteMany", () => db.message.deleteMany({ where: { ticketId: 7n, author: "agent" } }));
await step("$queryRaw", () => db.$queryRaw`SELECT id, phone FROM customers WHERE id = ${7n}`);
await step("error", () => sqlstate(() => db.$queryRaw`SELECT 1 / 0`));
await db.$disconnect();
