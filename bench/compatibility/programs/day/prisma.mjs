import { PrismaPg } from "@prisma/adapter-pg";
import { queryTags, withQueryTags } from "@prisma/sqlcommenter-query-tags";
import { traceContext } from "@prisma/sqlcommenter-trace-context";
import { day, NAMING, sqlstate, URI } from "./day.mjs";
import client from "./generated/index.js";

const adapter = new PrismaPg({ connectionString: URI, max: 2 });
const comments = NAMING === "comment" ? { comments: [queryTags(), traceContext()] } : {};
// Three people wait for two connections.
const transactionOptions = { maxWait: 30_000, timeout: 30_000 };
const prisma = new client.PrismaClient({ adapter, transactionOptions, ...comments });

/** Prisma's own example of row level security: each operation in a batch with the setting before it. */
const forPerson = (person) =>
  prisma.$extends({
    query: {
      $allModels: {
        async $allOperations({ args, query }) {
          const [, result] = await prisma.$transaction([
            prisma.$executeRaw`SELECT set_config('app.agent', ${person}, TRUE)`,
            query(args),
          ]);
          return result;
        },
      },
    },
  });

/** "setting": in one interactive transaction. "extension": in a batch for each operation. */
async function as(person, work) {
  if (NAMING === "comment") return withQueryTags({ user: person }, async () => work(prisma));
  if (NAMING === "extension") return work(forPerson(person));
  return prisma.$transaction(async (tx) => {
    if (NAMING === "setting") await tx.$executeRaw`SELECT set_config('app.agent', ${person}, TRUE)`;
    return work(tx);
  });
}

const find = (person, where) => as(person, (db) => db.customer.findMany({ where, orderBy: { id: "asc" } }));
const messages = { orderBy: { id: "asc" }, select: { id: true, body: true } };

await day({
  queue: (person, { limit, offset }) =>
    as(person, (db) =>
      db.ticket.findMany({
        where: { assignee: person, status: "open" },
        include: { customer: true },
        orderBy: { id: "asc" },
        take: limit,
        skip: offset,
      }),
    ),
  find: (person, { email }) => as(person, (db) => db.customer.findUnique({ where: { email } })),
  findAnyCase: (person, { email }) => find(person, { email: { equals: email, mode: "insensitive" } }),
  findSeveral: (person, { emails }) => find(person, { email: { in: emails } }),
  findByPhone: (person, { phone }) => find(person, { phone }),
  ticket: (person, { id }) =>
    as(person, (db) =>
      db.ticket.findUnique({
        relationLoadStrategy: "join",
        where: { id },
        include: { customer: true, messages },
      }),
    ),
  tickets: (person, { ids }) =>
    as(person, (db) =>
      db.ticket.findMany({
        relationLoadStrategy: "query",
        where: { id: { in: ids } },
        include: { messages },
        orderBy: { id: "asc" },
      }),
    ),
  note: (person, { id, body }) =>
    as(person, async (db) => {
      const ticket = await db.ticket.findUnique({ where: { id } });
      await db.message.create({
        data: { ticketId: ticket.id, customerId: ticket.customerId, author: "agent", body },
      });
      return ticket;
    }),
  close: (person, { id }) =>
    as(person, (db) => db.ticket.update({ where: { id }, data: { status: "closed" } })),
  counts: (person) =>
    as(person, (db) =>
      db.ticket.groupBy({
        by: ["status"],
        _count: true,
        where: { assignee: person },
        orderBy: { status: "asc" },
      }),
    ),
  fail: async (person, { id }) => {
    let shown;
    const state = await sqlstate(() =>
      as(person, async (db) => {
        shown = await db.customer.findUnique({ where: { id } });
        await db.$queryRaw`SELECT 1 / 0`;
      }),
    );
    return { state, shown };
  },
  lock: (person, { id }) =>
    prisma.$transaction(async (tx) => {
      if (NAMING === "setting" || NAMING === "extension")
        await tx.$executeRaw`SELECT set_config('app.agent', ${person}, TRUE)`;
      const ask = async () => tx.$queryRaw`SELECT id, customer_id FROM tickets WHERE id = ${id} FOR UPDATE`;
      return NAMING === "comment" ? withQueryTags({ user: person }, ask) : ask();
    }),
});
await prisma.$disconnect();
