package inpaint_server.front_door;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import software.amazon.ai.mms.servingsdk.Context;
import software.amazon.ai.mms.servingsdk.ModelServerEndpoint;
import software.amazon.ai.mms.servingsdk.annotations.Endpoint;
import software.amazon.ai.mms.servingsdk.annotations.helpers.EndpointTypes;
import software.amazon.ai.mms.servingsdk.http.Request;
import software.amazon.ai.mms.servingsdk.http.Response;

/** The model server's other routes to the model, closed: each answers 404 in this server's words. */
abstract class Absent extends ModelServerEndpoint {
    private static final byte[] BODY =
            ("{\"error\": {\"code\": \"not_found\", \"message\": \"Send POST /invocations or GET /ping.\"}}\n")
                    .getBytes(StandardCharsets.US_ASCII);

    private static void refuse(Response response) throws IOException {
        response.setStatus(404);
        response.setContentType("application/json");
        response.getOutputStream().write(BODY);
    }

    @Override
    public void doGet(Request request, Response response, Context context) throws IOException {
        refuse(response);
    }

    @Override
    public void doPut(Request request, Response response, Context context) throws IOException {
        refuse(response);
    }

    @Override
    public void doPost(Request request, Response response, Context context) throws IOException {
        refuse(response);
    }

    @Override
    public void doDelete(Request request, Response response, Context context) throws IOException {
        refuse(response);
    }

    /** /predictions/model. */
    @Endpoint(urlPattern = "predictions", endpointType = EndpointTypes.INFERENCE, description = "Closed")
    public static class Predictions extends Absent {}

    /** /model/predict: the name the front door gives its one model. */
    @Endpoint(urlPattern = "model", endpointType = EndpointTypes.INFERENCE, description = "Closed")
    public static class LegacyPredict extends Absent {}
}
