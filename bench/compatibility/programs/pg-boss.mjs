import PgBoss from "pg-boss";
import { step, URI } from "./steps.mjs";

const boss = new PgBoss({
  connectionString: URI,
  schema: `boss_${process.env.COMPAT_WAY}`,
  max: 2,
  supervise: false,
  schedule: false,
});
boss.on("error", () => {});
await step("start: migrations", () => boss.start().then(() => true));
await step("queue", () => boss.createQueue("mail"));
await step("send and fetch", async () => {
  await boss.send("mail", { to: 7 });
  const [job] = await boss.fetch("mail");
  await boss.complete("mail", job.id);
  return job.data;
});
await step(
  "work",
  () =>
    new Promise((done, fail) => {
      boss
        .work("mail", { pollingIntervalSeconds: 0.5 }, async ([job]) => done(job.data))
        .then(() => boss.send("mail", { to: 8 }))
        .catch(fail);
    }),
);
await boss.stop({ graceful: false, wait: false });
process.exit(0);
