import { type Check, warning } from "./checked.ts";

/** People behind an application are named, and nothing bounds what is read where nobody is. */
export const unboundedUnnamed: Check = (checked) =>
  checked.roles.flatMap((role) => {
    const { peopleBehind, unnamed } = role;
    if (peopleBehind === undefined || unnamed === "refuse") return [];
    if (unnamed?.budget.some(({ what }) => what === "people")) return [];
    const place = checked.written(role)?.keys.get("people_behind") ?? role.place;
    return [
      warning(
        place,
        `role "${role.name}" names the people behind it, and nothing of its own bounds what is read where nobody is named`,
        "Say unnamed: { budget: { 1h: 50 } }, or unnamed: refuse. Batch jobs get a user and a role of their own.",
      ),
    ];
  });
