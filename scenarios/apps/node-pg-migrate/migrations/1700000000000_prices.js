exports.up = (pgm) => {
  pgm.createTable("prices", { id: "id", amount: { type: "integer", notNull: true } });
  pgm.sql("INSERT INTO prices (amount) VALUES (20)");
};
