package quarterhour.peers;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Path;
import java.util.List;

/** What a peer is told: one JSON object, its only argument. */
public record Task(String brokers, String group, long events, String dsn, String folder, List<String> topics) {
    public static Task of(String[] arguments) throws IOException {
        return new ObjectMapper().readValue(arguments[0], Task.class);
    }

    public Path path() {
        return Path.of(folder);
    }

    /** The database as the JDBC driver wants it. */
    public String jdbcUrl() {
        URI uri = URI.create(dsn);
        String[] user = uri.getUserInfo().split(":", 2);
        return "jdbc:postgresql://%s:%d%s?user=%s&password=%s&reWriteBatchedInserts=true"
                .formatted(uri.getHost(), uri.getPort(), uri.getPath(), user[0], user[1]);
    }

    /** Tell the bench where this program is: `first` at its first record, `done` when all rows are committed. */
    public static void tell(String word) {
        System.out.println(word);
        System.out.flush();
    }
}
