package inpaint_server.front_door;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;

/** What the supervisor wrote into this process's temp folder, which belongs to this one server. */
final class ServerState {
    private static final Path FOLDER = Paths.get(System.getProperty("java.io.tmpdir"));

    private ServerState() {}

    /** The state that the supervisor wrote last. */
    static String current() {
        return read("state", "gone");
    }

    /** Whether the server is stopping. */
    static boolean isDraining() {
        return current().equals("draining");
    }

    /** A JSON object with the server's version and commit. */
    static String version() {
        return read("version", "{\"version\":null}");
    }

    private static String read(String name, String fallback) {
        Path file = FOLDER.resolve(name);
        try {
            return Files.exists(file) ? new String(Files.readAllBytes(file), StandardCharsets.US_ASCII) : fallback;
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
