package quarterhour.peers;

import java.util.HashMap;
import java.util.Map;

/** How many records each task of Kafka Streams has seen, and how many of them are in PostgreSQL. */
final class Progress {
    private final long events;
    private final Map<Integer, Long> seen = new HashMap<>();
    private final Map<Integer, Long> written = new HashMap<>();

    Progress(Task task) {
        events = task.events();
    }

    void saw(int partition) {
        if (seen.isEmpty()) {
            Task.tell("first");
        }
        seen.merge(partition, 1L, Long::sum);
    }

    /** All that this task has seen is committed in PostgreSQL. */
    void wrote(int partition) {
        written.put(partition, seen.getOrDefault(partition, 0L));
        if (written.values().stream().mapToLong(Long::longValue).sum() == events) {
            Task.tell("done");
        }
    }
}
