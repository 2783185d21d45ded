package inpaint_server.front_door;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import software.amazon.ai.mms.servingsdk.Context;
import software.amazon.ai.mms.servingsdk.ModelServerEndpoint;
import software.amazon.ai.mms.servingsdk.annotations.Endpoint;
import software.amazon.ai.mms.servingsdk.annotations.helpers.EndpointTypes;
import software.amazon.ai.mms.servingsdk.http.Request;
import software.amazon.ai.mms.servingsdk.http.Response;

/**
 * GET /ping: 200 while the supervisor's state is "ready", else 503. The body reports version and commit, too.
 *
 * <p>The built-in ping answers 200 as soon as the port listens.
 */
@Endpoint(urlPattern = "ping", endpointType = EndpointTypes.INFERENCE, description = "Readiness")
public class PingEndpoint extends ModelServerEndpoint {
    @Override
    public void doGet(Request request, Response response, Context context) throws IOException {
        String current = ServerState.current();
        response.setStatus("ready".equals(current) ? 200 : 503);
        response.setContentType("application/json");
        response.setHeader(PublicPortHandler.PASSTHROUGH, "1");
        String body = "{\"status\":\"" + current + "\"," + ServerState.version().substring(1);
        response.getOutputStream().write(body.getBytes(StandardCharsets.US_ASCII));
    }
}
