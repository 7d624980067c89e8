// Writes a note under a topic, which is there once for all the notes about it.
const { DataTypes, Sequelize } = require("sequelize");

const sequelize = new Sequelize(process.env.DATABASE_URL, {
  dialect: "postgres",
  databaseVersion: "15.0.0",
  keepDefaultTimezone: true,
  clientMinMessages: false,
  logging: false,
  pool: { max: 1, idle: 3600000 },
});
const Topic = sequelize.define("Topic", { name: { type: DataTypes.STRING, unique: true } }, { timestamps: false });
const Note = sequelize.define("Note", { text: DataTypes.STRING }, { timestamps: false });
Note.belongsTo(Topic);

async function main([topic, text]) {
  if (topic === "--setup") {
    return void (await sequelize.sync());
  }
  await sequelize.transaction(async (transaction) => {
    const [{ id }] = await Topic.findCreateFind({ where: { name: topic }, transaction });
    await Note.create({ text, TopicId: id }, { transaction });
  });
}

module.exports = { main };
if (require.main === module) {
  main(process.argv.slice(2))
    .catch((error) => {
      console.error(error.message);
      process.exitCode = 1;
    })
    .finally(() => sequelize.close());
}
