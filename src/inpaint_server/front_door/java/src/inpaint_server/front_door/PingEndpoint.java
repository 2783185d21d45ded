package inpaint_server.front_door;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import software.amazon.ai.mms.servingsdk.Context;
import software.amazon.ai.mms.servingsdk.ModelServerEndpoint;
import software.amazon.ai.mms.servingsdk.annotations.Endpoint;
import software.amazon.ai.mms.servingsdk.annotations.helpers.EndpointTypes;
import software.amazon.ai.mms.servingsdk.http.Request;
import software.amazon.ai.mms.servingsdk.http.Response;

/**
 * GET /ping: 200 while the supervisor's state file says "ready", else 503.
 *
 * <p>The built-in ping answers 200 as soon as the port listens. The state file lies in this process's temp folder,
 * which belongs to this one server; the file "version" beside it holds a JSON object with the server's version and
 * commit, which become part of the body.
 */
@Endpoint(urlPattern = "ping", endpointType = EndpointTypes.INFERENCE, description = "Readiness")
public class PingEndpoint extends ModelServerEndpoint {
    private final Path state = Paths.get(System.getProperty("java.io.tmpdir"), "state");
    private final Path version = Paths.get(System.getProperty("java.io.tmpdir"), "version");

    @Override
    public void doGet(Request request, Response response, Context context) throws IOException {
        String current = read(state, "gone");
        response.setStatus("ready".equals(current) ? 200 : 503);
        response.setContentType("application/json");
        response.setHeader(PublicPortHandler.PASSTHROUGH, "1");
        String body = "{\"status\": \"" + current + "\", " + read(version, "{\"version\": null}").substring(1) + "\n";
        response.getOutputStream().write(body.getBytes(StandardCharsets.US_ASCII));
    }

    @Override
    public void doPut(Request request, Response response, Context context) {
        response.setStatus(405);
    }

    @Override
    public void doPost(Request request, Response response, Context context) {
        response.setStatus(405);
    }

    @Override
    public void doDelete(Request request, Response response, Context context) {
        response.setStatus(405);
    }

    private static String read(Path file, String fallback) throws IOException {
        return Files.exists(file) ? new String(Files.readAllBytes(file), StandardCharsets.US_ASCII) : fallback;
    }
}
