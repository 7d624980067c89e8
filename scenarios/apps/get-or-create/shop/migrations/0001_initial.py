import os

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Subscriber",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("email", models.EmailField(max_length=254, unique=os.environ.get("UNIQUE") == "yes")),
                ("source", models.CharField(max_length=100)),
            ],
        ),
    ]
