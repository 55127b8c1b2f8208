package quarterhour.peers;

import java.sql.Connection;
import java.sql.DriverManager;
import java.time.Duration;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** A bare consumer loop: poll, parse, sessions in memory, every 20,000 records or second one transaction. */
public final class JavaLoop {
    private static final int RECORDS_A_WRITE = 20_000;
    private static final long WRITE_NANOS = 1_000_000_000;

    public static void main(String[] arguments) throws Exception {
        Task task = Task.of(arguments);
        Sessions sessions = new Sessions();
        try (Connection connection = DriverManager.getConnection(task.jdbcUrl());
                KafkaConsumer<String, byte[]> consumer = consumer(task)) {
            connection.setAutoCommit(false);
            consumer.subscribe(task.topics());
            long seen = 0;
            long written = 0;
            long writtenAt = System.nanoTime();
            while (written < task.events()) {
                ConsumerRecords<String, byte[]> records = consumer.poll(Duration.ofMillis(100));
                if (seen == 0 && !records.isEmpty()) {
                    Task.tell("first");
                }
                for (ConsumerRecord<String, byte[]> record : records) {
                    Message message = Message.of(record.value());
                    message.conversation = record.key();
                    if (message.counts) {
                        sessions.add(message);
                    }
                }
                seen += records.count();
                boolean due = seen - written >= RECORDS_A_WRITE || System.nanoTime() - writtenAt >= WRITE_NANOS;
                if (due || seen >= task.events()) {
                    sessions.write(connection);
                    consumer.commitSync();
                    written = seen;
                    writtenAt = System.nanoTime();
                }
            }
            Task.tell("done");
        }
    }

    private static KafkaConsumer<String, byte[]> consumer(Task task) {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", task.brokers(),
                "group.id", task.group(),
                "auto.offset.reset", "earliest",
                "enable.auto.commit", false,
                "max.poll.records", 5_000);
        return new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer());
    }
}
